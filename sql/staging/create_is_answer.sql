-- Whether a text can be an answer: none begins with the character that marks answers that call tools.
create macro is_answer(value) as not starts_with(value, chr(30));
