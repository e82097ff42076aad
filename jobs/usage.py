"""Texts of the command line's help: examples, an example job file, exit codes. Knows no code."""

from __future__ import annotations

FIRST_STEPS = """\
first steps:
  phifleet doctor                         # is everything here that a run needs?
  phifleet demo                           # a complete run of a small corpus
  phifleet show job.yaml --id 10-K-2021   # check the prompts before a run
  phifleet plan job.yaml                  # what it will read, take and cost
  phifleet run job.yaml --sample 20       # answer 20 documents first
  phifleet run job.yaml                   # run the job, or resume it
  phifleet status answers/                # how much is done
  phifleet errors answers/                # what could not be answered, and why
  phifleet verify answers/                # is every document there exactly once?
  phifleet report answers/                # all of it as one page, for people
  phifleet COMMAND --help                 # options, examples, exit codes
"""

JOB_EXAMPLE = """\
example of a job file (job.yaml):
  input:  {path: corpus/, id_column: doc_id, text_column: text, keep_columns: [title]}
  output: {path: answers/}                             # a directory, or s3://...
  model:  {name: microsoft/Phi-3-mini-128k-instruct}   # or a path, or `tiny`
  tasks:                                               # about every document
    - {name: summary, kind: summarize, max_words: 120}
    - {name: topic, kind: classify, labels: [risk, earnings, other]}
    - {name: facts, kind: extract, fields: {company: string, risks: [string]}}
    - {name: auditor, kind: ask, question: "Who audited the statements?"}
"""

EXIT_CODES = """\
exit codes:
  0  done
  1  done, but with more dead letters than limits.max_dead_letter_fraction allows
  2  the job file, the input, OUTPUT or the model is wrong
  3  stopped by a signal or a limit, or another run took over OUTPUT
  4  the cluster, an engine, the storage or phifleet itself failed
After 3 and 4, run the same command again to resume. Committed work is not repeated.
"""

RUN = f"""\
examples:
  phifleet run job.yaml
  phifleet run job.yaml --set tasks.0.max_words=80 --set output.path=shorter/
  phifleet run job.yaml --json > result.json   # progress goes to standard error
  phifleet run job.yaml --log-format json      # standard error for log collectors
  phifleet run job.yaml --retry dead-letters   # ask again about these alone
  phifleet run job.yaml --retry dead-letters:timeout
  phifleet run job.yaml --sample 20            # look at 20 documents' answers first

OUTPUT is the job's output.path. Answers are Parquet files in OUTPUT/answers/;
documents that could not be answered ("dead letters") are in OUTPUT/dead_letters/
with a reason.

A terminal shows a live view. Otherwise a line with the progress is printed every
30 seconds, with the time in UTC and without line breaks. With --log-format json
each line on standard error is an object with time, level, event and the numbers;
docs/status.md lists the events.

--sample N answers N documents and prints the answers with their evidence and
what they cost; OUTPUT is not touched. The documents are the same each time: of
up to N parts of up to 64 files, spread over the input, the first 1,000 rows are
sorted by length and divided into N groups, and one document of each is taken,
from as many files as possible.

The run joins the Ray cluster that RAY_ADDRESS names; if it is not set, Ray is
started on this machine. Ctrl-C stops the run. The same command resumes it, also
after a crash. A task that is added to the job of a finished run is asked alone,
and becomes a further column.

--retry asks again about the dead letters of a finished run with the reasons
invalid_answer and rejected, or with REASON. Those that get an answer move from
OUTPUT/dead_letters/ to OUTPUT/answers/. New input files wait for the next run.

{JOB_EXAMPLE}
{EXIT_CODES}"""

DEMO = f"""\
examples:
  phifleet demo
  phifleet demo --output /tmp/demo

The corpus is the 79 texts of the Python reference with facts inserted, so that
the answers can be checked. At the end it prints some answers and how many are
correct.

{EXIT_CODES}"""

STATUS = """\
examples:
  phifleet status answers/
  phifleet status answers/ --watch
  phifleet status s3://results/filings-digest/ --json | jq .bill

Reads the records in OUTPUT/_run, during a run or after it, on any machine that can
read OUTPUT; see docs/status.md. The status is one of

  running      its driver lives
  stopped      a signal or a limit stopped it; run the same command again to go on
  failed       an error ended it: the reason is named
  fenced       another driver took over
  dead         its driver gives no sign of life and said nothing
  done         finished; or too_many_dead_letters
  unfinished   it has no heartbeat: an older version wrote it

exit codes:
  0  the status was printed
  2  OUTPUT does not contain a phifleet run
  4  the storage failed
"""

VERIFY = """\
example:
  phifleet verify answers/

Compares the index of the input with the answers and the dead letters, and every
file with its checksum. Reads all of OUTPUT.

exit codes:
  0  complete: every document is answered or a dead letter, and every file intact
  1  incomplete or damaged: the problems are listed
  2  OUTPUT does not contain a phifleet run
  4  the storage failed
"""

ERRORS = """\
examples:
  phifleet errors answers/
  phifleet errors answers/ --reason invalid_answer --task facts --limit 100
  phifleet errors answers/ --like "needs 5210 tokens"   # also with other numbers
  phifleet errors s3://results/filings-digest/ --json

Prints dead letters, the documents and single tasks without an answer: first how
many by reason, with the remedy; then similar messages with an example of each;
then the first dead letters. Reads OUTPUT/dead_letters only, also during a run.
With --json: dead_letters (their number), reasons, messages and rows.

exit codes:
  0  printed, also if there are none
  2  OUTPUT does not contain a phifleet run, or an option has a wrong value
  4  the storage failed
"""

REPORT = """\
examples:
  phifleet report answers/
  phifleet report answers/ --documents 50
  phifleet report answers/ --id 10-K-2021 --id 10-K-2022 --to review.html
  phifleet report s3://results/filings-digest/ --json

Writes OUTPUT/report.html, one file that needs no network: what ran, documents and
dead letters, tokens, time, cost, evidence, a data card, and some documents with
their answers, each lit where the text shows it. Prints the path. With --json:
report (the path) and every number of the page. Also works during a run; a finished
run has written the page already. Texts are read from the job's input again.

exit codes:
  0  the page was written
  2  OUTPUT does not contain a phifleet run, or no document has such an id
  4  the storage failed
"""

SHOW = """\
examples:
  phifleet show job.yaml --id 10-K-2021
  phifleet show job.yaml --id 10-K-2021 --json   # also the prompts' token ids

Prints the document's length in tokens, how it is read (in a single pass, in
chunks, ...), the pool of engines that reads it, and the prompt of each task and
chunk. Starts no engine.

exit codes:
  0  the prompts were printed
  2  the job file, the input or the model is wrong, or no document has this id
  4  the storage failed
"""

MODEL = """\
examples:
  phifleet model microsoft/Phi-3-mini-128k-instruct
  phifleet model tiny --json

Use it to fill a cache or a container image before a run. `tiny` is part of
phifleet.

exit codes:
  0  the path was printed
  2  the model does not exist or cannot be used
"""

DOCTOR = """\
examples:
  phifleet doctor
  phifleet doctor job.yaml           # also the job's input, output and model
  phifleet doctor s3://results/new/  # also whether a run can write there
  phifleet doctor --json

Prints a table with `ok`, `warning` or `failed` for each of: installed packages
against the pinned versions, the engine (vLLM), GPUs, Ray (starts here, or
RAY_ADDRESS can be joined), shared memory, disk space, the model, and with a job
file or an OUTPUT the storage. Below each warning or failure is what to do.

Takes about as long as an engine's imports. Starts no engine, downloads nothing, and
leaves no process and no file.

exit codes:
  0  everything that is needed is usable; there may be warnings
  2  something failed, or the job file is wrong
"""

EVALUATE = """\
examples:
  phifleet evaluate answers/ --gold gold.jsonl
  phifleet evaluate answers/ --gold gold.parquet --against older-answers/
  phifleet evaluate answers/ --gold s3://team/feedback/ --json

A row of gold has a document's id and its right answers, under the names of tasks:
  {"id": "10-K-2021", "topic": "risk", "facts": {"company": "Acme", "risks": []}}
What a row has no key for is not judged; null says that there is no value. Values
are compared as evidence compares them: 1 March 2024 is 2024-03-01.
docs/evaluation.md describes the figures and the tests.

exit codes:
  0  the evaluation was printed
  2  OUTPUT has no run or no answers, or the gold is wrong
  4  the storage failed
"""
