"""Verifies ledgers with aics-tlog, for homeport's tests.

One JSON object per line comes in, one goes out:

    {"dir": "...", "key": "<vkey>", "old": ["<checkpoint file>"], "indexes": [0, 5], "proofs": ["<tlog-proof file>"],
     "witnesses": ["<vkey>"]}
    {"ok": true, "size": 5, "tiles": 2, "bundles": 1, "proofs": 2, "consistent": 1}
    {"ok": false, "error": "..."}

Every tile and every entry is checked against the signed root; each index gets an inclusion proof made of the tiles,
each older checkpoint a consistency proof, and each proof file is read with nothing but this file's own few lines.
"""

import base64
import json
import sys
import zlib
from pathlib import Path

from aics_tlog import (
    FileSystemTileReader,
    audit_tiles,
    consistency_proof_from_tiles,
    inclusion_proof_from_tiles,
    leaf_hash,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    read_entry,
    verify_checkpoint,
    verify_consistency,
    verify_inclusion,
)


class Reader(FileSystemTileReader):
    """What is not there as it is may be there as a gzip file, as a web server would send it."""

    def _read(self, path):
        plain = super()._read(path)
        packed = None if plain is not None else super()._read(f"{path}.gz")
        if packed is None:
            return plain
        if packed[:10] != bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255]):
            raise ValueError(f"{path}.gz does not begin as a packed bundle does")
        decoder = zlib.decompressobj(wbits=31)
        unpacked = decoder.decompress(packed)
        if not decoder.eof or decoder.unused_data:
            raise ValueError(f"{path}.gz does not end as a packed bundle does")
        return unpacked


def head(raw, key, witnesses):
    """The checkpoint, if it is signed by the key, and by every witness that is asked for."""
    note = parse_note(raw.decode("utf-8"))
    keys = [parse_vkey(witness) for witness in witnesses]
    result = verify_checkpoint(note, parse_vkey(key), keys, quorum=len(keys))
    if not result.ok:
        raise ValueError(f"checkpoint: {result}")
    return parse_checkpoint(note.text)


def check_proof(path, key):
    """C2SP tlog-proof, of which aics-tlog knows the parts and not the file."""
    top, note = Path(path).read_text(encoding="utf-8").split("\n\n", 1)
    lines = top.split("\n")
    if lines[0] != "c2sp.org/tlog-proof@v1":
        raise ValueError(f"{path}: {lines[0]}")
    extra = base64.b64decode(lines[1].removeprefix("extra "), validate=True)
    index = int(lines[2].removeprefix("index "))
    proof = [base64.b64decode(line, validate=True) for line in lines[3:]]
    cp = head(note.encode("utf-8"), key, [])
    if not verify_inclusion(leaf_hash(extra), index, cp.size, proof, cp.root):
        raise ValueError(f"{path}: the proof does not hold")


def audit(job):
    directory, key = Path(job["dir"]), job["key"]
    cp = head((directory / "checkpoint").read_bytes(), key, job.get("witnesses", []))
    if cp.origin != parse_vkey(key).name:
        raise ValueError("the checkpoint is of another ledger")
    reader = Reader(directory)
    report = audit_tiles(reader, cp.size, cp.root)
    for index in job.get("indexes", []):
        entry = read_entry(reader, index, cp.size)
        proof = inclusion_proof_from_tiles(reader, index, cp.size)
        if not verify_inclusion(leaf_hash(entry), index, cp.size, proof, cp.root):
            raise ValueError(f"entry {index} is not included")
    for path in job.get("old", []):
        old = head(Path(path).read_bytes(), key, [])
        proof = consistency_proof_from_tiles(reader, old.size, cp.size)
        if not verify_consistency(old.size, cp.size, old.root, cp.root, proof):
            raise ValueError(f"{path} is not the beginning of the ledger")
    for path in job.get("proofs", []):
        check_proof(path, key)
    return {
        "ok": True,
        "size": cp.size,
        "tiles": report.tiles,
        "bundles": report.bundles,
        "proofs": len(job.get("indexes", [])) + len(job.get("proofs", [])),
        "consistent": len(job.get("old", [])),
    }


def main():
    for line in sys.stdin:
        try:
            answer = audit(json.loads(line))
        except Exception as error:  # whatever it is, it is no verified ledger
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
