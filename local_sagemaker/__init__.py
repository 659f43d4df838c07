"""The embedded SageMaker: an HTTP server that speaks the SageMaker API and runs the jobs as subprocesses.

Belongs here: the wire protocols, the container contract, the job queue, the endpoint supervisor and the front proxy.
Does not belong here: anything of Ledgerline or Dagster. A boto3 program must not tell it from AWS by its answers.
"""

ACCOUNT = "000000000000"  # twelve digits, as ARN patterns demand; no real account has this number
