"""Tables of other people: from a file to the two splits of a seed; every complaint names the
column or the line.
"""
