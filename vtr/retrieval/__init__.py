"""Retrieval: from embeddings to ranks, numbers, hits and tables.

exact.py       similarities that do not depend on how they were computed
tiles.py       what beats and what ties each query's own item, counted tile by tile
metrics.py     ranks, and R@K, MdR, MnR from them
embeddings.py  rows of vectors, with what each is of
store.py       embeddings on disk: Parquet (parquet.py), or npy in clip-retrieval's layout (npy.py)
index.py       exact top-k search
table.py       numbers and hits as rich tables
"""
