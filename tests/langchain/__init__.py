"""From LangChain's callbacks to the record: what was asked, said and counted."""
