"""The words that every room uses: ids, histories, kinds of events, columns of tables, and items.

Has no face: import its modules, so that an import loads no more than it needs.
"""
