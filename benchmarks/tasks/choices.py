"""Choices for GSM8K questions."""


def choices(doc: dict[str, str]) -> list[str]:
    """Return the right answer in a sentence, then three wrong ones."""
    number = int(doc["answer"].rpartition("#### ")[2].replace(",", ""))
    return [f"the answer is {n}." for n in (number, number + 1, 2 * number + 3, number // 2 + 7)]
