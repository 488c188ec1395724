"""Checks of the user's own files, history and published models: does the pipeline fool itself?"""
