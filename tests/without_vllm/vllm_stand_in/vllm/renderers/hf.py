from typing import Any


def resolve_chat_template(**_: Any) -> None:
    return None
