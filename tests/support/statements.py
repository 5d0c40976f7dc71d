"""Asks PostgreSQL's own grammar (libpg_query) where the statements of SQL texts are.

Reads a JSON list of texts from the file named in the first argument; prints a JSON list of
[[first byte, byte after the last], …], without white space and comments around a statement, or of
the grammar's complaint.
"""

import json
import sys

from pglast import parser


def statements(text):
    raw = text.encode()
    places = [0]
    for character in text:
        places.append(places[-1] + len(character.encode()))
    tokens = [
        (places[token.start], places[token.end + 1])
        for token in parser.scan(text)
        if not token.name.endswith("_COMMENT")
    ]
    found = []
    for one in json.loads(parser.parse_sql_json(text)).get("stmts", []):
        begin = one.get("stmt_location", 0)
        end = begin + one["stmt_len"] if one.get("stmt_len") else len(raw)
        inside = [t for t in tokens if begin <= t[0] and t[1] <= end]
        # Without a length the last semicolon counts as part of the statement.
        while inside and raw[inside[-1][0] : inside[-1][1]] == b";":
            inside.pop()
        found.append([inside[0][0], inside[-1][1]])
    return found


answers = []
for case in json.load(open(sys.argv[1], encoding="utf-8")):
    try:
        answers.append(statements(case))
    except parser.ParseError as error:
        answers.append(str(error))
print(json.dumps(answers))
