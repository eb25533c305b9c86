"""What objects of the built-in types must be beyond their schemas, in upstream's words.

One file for each subject; the strategies call them. A rule takes the value, its path (``spec.containers[0]``) and
the list that it appends its causes to. Rules run in upstream's order, since the order of the causes is the order of
the message.

Source: pkg/apis/*/validation and the ``zz_generated.validations.go`` beside them (v1.37), with the feature gates in
their default state. Values in messages are what Go prints of upstream's internal types (see ``internal``).
"""
