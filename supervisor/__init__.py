"""The fleet and its program: fleet/, gate/, watch/, host/, places/, process/ and cli/; `program`
puts them together.
"""
