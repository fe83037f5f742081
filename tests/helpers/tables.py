"""Reading tables back."""

import csv


def cells(text):
    """A Markdown table as a list of dicts."""
    names, _, *lines = (
        [cell.strip() for cell in line.strip('|').split('|')]
        for line in text.splitlines()
        if line.startswith('|')
    )
    return [dict(zip(names, line, strict=True)) for line in lines]


def csv_rows(path):
    """A CSV file as a list of dicts."""
    with open(path, newline='') as file:
        return list(csv.DictReader(file))
