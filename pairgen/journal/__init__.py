"""Every answer ever paid for, kept before anyone sees it and never asked for again.

A key is the hash of exactly what was asked: engine, messages, sampling, seed and sample index. No row
number, no address and no secret is in it, so moving, appending or re-running rows costs nothing.
"""

from pairgen.journal.file import Journal
from pairgen.journal.journaled import Journaled
from pairgen.journal.keys import conversation_key, sample_key
from pairgen.journal.purse import Purse
from pairgen.journal.tables import Bill, count_answered, read_spent

__all__ = [
    "Bill", "Journal", "Journaled", "Purse", "conversation_key", "count_answered", "read_spent", "sample_key",
]
