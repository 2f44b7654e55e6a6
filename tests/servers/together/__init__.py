"""A fake of Together AI's fine-tuning API, and of the storage it may redirect to.

    server     TogetherServer: what a test starts, and the jobs it holds
    api        what each endpoint answers
    jobs       a job, its checkpoints, and how both look in JSON
    delivery   how an archive's bytes are served: ranges, validators, content type, faults
    storage    the second origin: presigned links that expire
    archives   real archives of an adapter or a model, as .tar.zst or .tar.gz

The protocol is that of Together's OpenAPI description and of the two SDKs, 1.5.34 and 3.1.1, which
download from this server in tests/sdk. What neither tells is marked so.
"""
