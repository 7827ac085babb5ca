-- Run once by the container of PostgreSQL, beside the database prefect.
create database mlflow;
