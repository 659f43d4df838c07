"""Serves one model version: `serve.py MODEL_DIR CODE_DIR PROGRAM SOCKET`, in one process and one thread.

The handlers are those of the SageMaker inference toolkit: model_fn, input_fn, predict_fn, output_fn or transform_fn,
pre_model_fn and model_warmup_fn, each with or without a trailing context. The socket is opened only after the model is
loaded and warmed, so /ping answers when, and only when, /invocations can. Differences from the toolkit, meant: a
ValueError of input_fn, and one that another handler's own code raises, is the client's mistake (400 with its message);
any other error, a ValueError of a library called by predict_fn too, is 500 without a traceback (which goes to the log).
"""

import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path

import request_schema
import unix_http

TEXT_TYPES = ("application/json", "text/csv", "application/jsonlines")
CHECKED_TYPES = ("application/json", "application/jsonlines")
CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"  # the one header of an answer that AWS passes on
MAX_ATTRIBUTES = 1024  # characters, API reference of InvokeEndpoint
SCHEMA_MODES = ("flag", "refuse", "off")


class Context:
    """What handlers with a trailing `context` get: the model's folder and the request's content type."""

    def __init__(self, model_dir):
        self.system_properties = {"model_dir": model_dir, "gpu_id": None}
        self.headers = {}

    def get_request_header(self, idx, name):
        return self.headers.get(name.lower())


class BadRequest(Exception):
    """The request is not what input_fn takes."""


def default_input_fn(body, content_type):
    if content_type.split(";")[0].strip() != "application/json":
        raise ValueError(f"Content-Type {content_type!r} is not supported; send application/json.")
    return json.loads(body)


def default_output_fn(prediction, accept):
    return json.dumps(prediction), "application/json"


def load_program(code_dir, program):
    """Import the project's inference program from its folder, as a script beside its own modules."""
    path = Path(code_dir) / program
    if not path.is_file():
        sys.exit(f"no {program} in the model's code/ folder; let train.py copy it to $SM_MODEL_DIR/code/")
    sys.path[0] = str(path.parent)
    return importlib.import_module(path.stem)


def handler(module, name, arguments, context, default=None):
    """A handler of the program, or the default, as a function of exactly `arguments` arguments; None where absent."""
    function = getattr(module, name, default)
    if function is None:
        return None
    if len(inspect.signature(function).parameters) > arguments:
        return lambda *values: function(*values, context)
    return function


def build_transform(module, context):
    """One function (body bytes, content type, accept) -> (bytes, content type) from the program's handlers."""
    if getattr(module, "model_fn", None) is None:
        sys.exit("the inference program has no model_fn(model_dir); add it")
    model_dir = context.system_properties["model_dir"]
    before = handler(module, "pre_model_fn", 1, context)
    if before is not None:
        before(model_dir)
    model = handler(module, "model_fn", 1, context)(model_dir)
    warm_up = handler(module, "model_warmup_fn", 2, context)
    if warm_up is not None:
        warm_up(model_dir, model)
    whole = handler(module, "transform_fn", 4, context)
    parts = [name for name in ("input_fn", "predict_fn", "output_fn") if hasattr(module, name)]
    if whole is not None and parts:
        sys.exit(f"the inference program has transform_fn and {', '.join(parts)}; use one or the other")
    if whole is not None:
        return lambda body, content_type, accept: encoded(whole(model, body, content_type, accept), accept)
    read = handler(module, "input_fn", 2, context, default_input_fn)
    predict = handler(module, "predict_fn", 2, context)
    write = handler(module, "output_fn", 2, context, default_output_fn)
    if predict is None:
        sys.exit("the inference program has neither predict_fn(data, model) nor transform_fn; add one")

    own = module.__file__

    def transform(body, content_type, accept):
        try:
            data = read(body, content_type)
        except ValueError as error:
            raise BadRequest(str(error)) from error
        try:
            return encoded(write(predict(data, model), accept), accept)
        except ValueError as error:
            if raised_in(error) == own:
                raise BadRequest(str(error)) from error
            raise

    return transform


def raised_in(error):
    """The file whose code raised the error."""
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return frame.tb_frame.f_code.co_filename


def encoded(result, accept):
    """The handlers' result as bytes and content type; they may return a body, or (body, content type)."""
    body, content_type = result if isinstance(result, tuple) else (result, accept)
    if isinstance(body, str):
        body = body.encode()
    return bytes(body), content_type


class App:
    """GET /ping and POST /invocations. `schema` is None where requests are not checked."""

    def __init__(self, transform, context, schema=None, refuse=False):
        self._transform = transform
        self._context = context
        self._schema = schema
        self._refuse = refuse
        self._default_accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "application/json")

    def answer(self, method, path, headers, body):
        """Status, header pairs and body."""
        if path == "/invocations" and method == "POST":
            status, content_type, body, more = self.invoke(headers, body)
            return status, [("content-type", content_type), *more], body
        if path == "/ping" and method == "GET":
            return 200, [], b""
        told = b'{"error": "only GET /ping and POST /invocations are served"}'
        return 404, [("content-type", "application/json")], told

    def invoke(self, headers, body):
        """Status, content type, body and further header pairs of the answer."""
        content_type = headers.get("content-type") or "application/octet-stream"
        accept = headers.get("accept")
        if not accept or accept == "*/*":
            accept = self._default_accept
        self._context.headers = headers
        kind, more = content_type.split(";")[0].strip(), []
        try:
            if kind in TEXT_TYPES:
                body = decoded(body)
            if self._schema is not None and kind in CHECKED_TYPES:
                more = self.checked(body, kind)
                if more and self._refuse:
                    told = {"error": f"the request is outside the model's schema: {more[0][1]}"}
                    return 400, "application/json", json.dumps(told).encode(), more
            answer, answer_type = self._transform(body, content_type, accept)
        except BadRequest as error:
            return 400, "application/json", json.dumps({"error": str(error)}).encode(), more
        except Exception as error:  # noqa: BLE001 - whatever the project's code raises; it is logged whole
            traceback.print_exc()
            sys.stderr.flush()
            told = {"error": f"the model failed on this request ({type(error).__name__}); see the endpoint's log"}
            return 500, "application/json", json.dumps(told).encode(), more
        return 200, answer_type, answer, more

    def checked(self, body, kind):
        """The header that says what of the request is outside the schema, also a line in the log; [] where all is in."""
        found = self._schema.violations(body, kind)
        if not found:
            return []
        text = f"schema-violations={len(found)}; {'; '.join(found)}".encode("ascii", "backslashreplace").decode()
        print(text, flush=True)
        return [(CUSTOM_ATTRIBUTES, text if len(text) <= MAX_ATTRIBUTES else f"{text[: MAX_ATTRIBUTES - 3]}...")]


def load_schema(model_dir):
    """The model's schema, None where it has none or LEDGERLINE_SCHEMA_MODE is off; and whether to refuse."""
    mode = os.environ.get("LEDGERLINE_SCHEMA_MODE", "flag")
    if mode not in SCHEMA_MODES:
        sys.exit(f"LEDGERLINE_SCHEMA_MODE is {mode!r}; set it to one of {', '.join(SCHEMA_MODES)}")
    if mode == "off":
        return None, False
    try:
        return request_schema.Schema.load(Path(model_dir) / "schema.json"), mode == "refuse"
    except ValueError as error:
        sys.exit(str(error))


def decoded(body):
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: {error}") from error


def main():
    model_dir, code_dir, program, socket_path = sys.argv[1:]
    context = Context(model_dir)
    transform = build_transform(load_program(code_dir, program), context)
    unix_http.serve(socket_path, App(transform, context, *load_schema(model_dir)).answer)


if __name__ == "__main__":
    main()
