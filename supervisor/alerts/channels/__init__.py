"""By which ways alerts reach people, and the operator's file that says so."""
