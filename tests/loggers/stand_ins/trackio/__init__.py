"""Stands for trackio: RUNS holds what each run was given."""

RUNS = []
config = {}


class Trace:
    def __init__(self, messages, metadata):
        self.messages, self.metadata = messages, metadata


class Recorded:
    def __init__(self, arguments):
        self.arguments, self.logged, self.finished = arguments, [], False

    def log(self, metrics, step=None):
        self.logged.append((step, metrics))


def init(project, name=None, group=None, space_id=None, server_url=None, config=None):
    RUNS.append(Recorded({"project": project, "name": name, "group": group, "config": config}))
    return RUNS[-1]


def log(metrics, step=None):
    RUNS[-1].log(metrics, step)


def finish():
    RUNS[-1].finished = True
