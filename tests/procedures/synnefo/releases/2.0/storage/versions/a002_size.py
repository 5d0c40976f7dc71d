import sqlalchemy as sa
from alembic import op

revision = "a002"
down_revision = "a001"


def upgrade():
    op.add_column("objects", sa.Column("size", sa.BigInteger, server_default="0"))
