-- Corrections whose inference has arrived get its input and output.
update corrections
set input = inferences.input,
    input_hash = inferences.input_hash,
    model_output = inferences.output
from inferences
where corrections.inference_id = inferences.inference_id
  and corrections.input_hash is null;
