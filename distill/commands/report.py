"""`make report`: reports/so_far.html of whatever there is so far. The metrics of a whole run are the report stage's."""

from distill.project import stage
from distill.report.write import SO_FAR, write_page

if __name__ == "__main__":
    stage.no_options(__doc__)
    with stage.ending():
        write_page(SO_FAR)
