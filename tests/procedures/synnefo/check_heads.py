"""`alembic current --check-heads` for Alembic before 1.17.1, which has no such option: same words, same status."""
import subprocess
import sys


def revisions(word):
    command = [sys.executable, "-m", "alembic", "-c", "storage/alembic.ini", word]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}


if revisions("current") != revisions("heads"):
    print("FAILED: Database is not on all head revisions")
    sys.exit(255)
