"""snf-manage: the accounts or the compute part, as SYNNEFO_PART says."""
import sys

from django.core.management import execute_from_command_line

execute_from_command_line(sys.argv)
