"""The functions of the module config: each name that a call may have as its target.

`model.py` is printed from this text: a function whose body is one `return` is written out where it is called,
every other one is pasted. So each has only positional inputs (tensors, modules, lists of tensors), then
keyword-only arguments (numbers, strings, lists of them), and uses nothing but torch and its neighbours here.
A name stands once in all files of this folder and of `shims/`.
"""
