import sqlalchemy as sa
from alembic import op

revision = "a001"
down_revision = None


def upgrade():
    op.create_table("objects", sa.Column("id", sa.BigInteger, primary_key=True), sa.Column("name", sa.Text))
