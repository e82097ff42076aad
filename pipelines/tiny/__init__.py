"""Training and evaluation of `tiny`, the built-in model. Not needed to use the model.

`tiny` is trained to follow the rules of `rules.py`, which compute the expected answer for any text.
Vocabulary:

- An `Author` is a text generator: it makes random texts with planted facts, lines `key: value`.
- A `Teacher` is the generator of training examples. It asks an `Author` for texts, and builds
  prompts about them with the code that builds the prompts of real requests.
- A `Lesson` is a training example: the start of a prompt with a text, and several questions
  (`TrainingQuestion`) with expected answers.
- A `Stage` is a training stage: a number of steps with examples of the same kinds and lengths.
- The exam (`exam.py`) is the evaluation on texts that no training uses. A `Paper` is one evaluation
  document: a text and the tasks to run on it. `scoring.py` scores the answers.
- A training session is one run of `train.py`.
- A prompt injection is an instruction to the model in a text. It must be treated as text.

May import every package below it. Start reading at README.md, then `lessons.py` and `train.py`.
"""
