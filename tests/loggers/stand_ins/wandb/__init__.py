"""Stands for wandb: RUNS holds what each run was given."""

import contextlib
import io

__version__ = "0.31.0"
RUNS = []
run = None
has_key = True
fails_at = None  # number of the run that W&B refuses


class Error(Exception):
    pass


class Table:
    def __init__(self, columns):
        self.columns, self.data = columns, []

    def add_data(self, *row):
        self.data.append(row)


class Artifact:
    def __init__(self, name, type):
        self.name, self.type, self.files = name, type, {}

    @contextlib.contextmanager
    def new_file(self, name, mode, encoding):
        file = io.StringIO()
        yield file
        self.files[name] = file.getvalue()


class Recorded:
    offline = False

    def __init__(self, arguments):
        self.arguments, self.config, self.summary = arguments, _Config(), {}
        self.logged, self.artifacts, self.finished = [], [], False
        self.url = f"https://wandb.invalid/{arguments['name']}"

    def log(self, numbers, step=None):
        self.logged.append((step, numbers))

    def log_artifact(self, artifact):
        self.artifacts.append(artifact)

    def finish(self):
        global run
        self.finished, run = True, None


class _Config(dict):
    def update(self, more, allow_val_change=False):
        super().update(more)


def login(verify=True):
    if not has_key:
        raise Error("No API key configured.\nUse `wandb login`.")
    return True


def init(project=None, name=None, group=None, job_type=None, mode=None, settings=None, id=None):
    global run
    if len(RUNS) == fails_at:
        raise Error("no connection")
    run = Recorded({"project": project, "name": name, "group": group, "job_type": job_type})
    RUNS.append(run)
    return run
