"""What an alert says, and what must never be in it."""

import pytest

from ledgerline.alerts import LONGEST, failure_text, without_secrets

DART_KEY = "0123456789abcdef0123456789abcdef01234567"
AWS_SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # AWS's own documented example
DIGEST = "ef1ac2169386" + "0" * 52


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"GET https://opendart.fss.or.kr/api/list.json?crtfc_key={DART_KEY}&page=1", "list.json?crtfc_key=***&page=1"),
        (f"the key {DART_KEY} was refused", "the key *** was refused"),
        ("postgresql://ledgerline:hunter2@db:5432/dagster", "postgresql://***@db:5432/dagster"),
        ('{"password": "hunter2", "user": "kim"}', '{"password": "***", "user": "kim"}'),
        ("DAGSTER_POSTGRES_PASSWORD=hunter2 is wrong", "DAGSTER_POSTGRES_PASSWORD=*** is wrong"),
        ("Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/x", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijkl", "sent Bearer ***"),
        ("token xoxb-1234-abcd was revoked", "token *** was revoked"),
        (f"AKIAIOSFODNN7EXAMPLE and {AWS_SECRET}", "*** and ***"),
        ("?X-Amz-Signature=abc123&X-Amz-Date=1", "?X-Amz-Signature=***&X-Amz-Date=1"),
    ],
)
def test_secrets_are_hidden(text, said):
    assert said in without_secrets(text)
    for secret in ("hunter2", DART_KEY, AWS_SECRET, "AKIAIOSFODNN7EXAMPLE", "abc123", "xoxb-1234-abcd", "abcdefgh"):
        assert secret not in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        f"model {DIGEST} failed its gate",
        "run 7eb4ac9f-d840-4e39-858a-567446befaaa",
        "s3://ledgerline/projects/ticker_ranker/models/x/model.tar.gz",
        "0000320193-24-000081 of edgar:2024-08-01 has no closing tag. Wait for the next tick.",
        "the token is missing: set SLACK_BOT_TOKEN",
    ],
)
def test_what_a_person_needs_stays(text):
    assert without_secrets(text) == text


def test_a_long_error_is_cut_and_an_empty_one_is_said():
    given = {"job": "onboard", "partition": None, "step": None, "run_id": "r1"}
    assert len(failure_text(error="x" * 9999, **given)) < LONGEST + 100
    assert failure_text(error=" ", **given) == "job onboard, outside of a step: no message was recorded\nrun r1"
