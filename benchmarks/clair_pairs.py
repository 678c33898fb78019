"""The 20 pairs that the CLAIR authors published, as a dataset to audit.

`cache.tar.gz` of github.com/ContextualAI/CLAIR_and_APO (commit c91193b, MIT) holds their revision prompts and the
replies of GPT-4. Pickles are read without running anything in them; texts go nowhere but into the file named.

    python benchmarks/clair_pairs.py cache.tar.gz pairs.jsonl && pairgen audit pairs.jsonl
"""

import ast
import io
import json
import pickle
import sys
import tarfile
from pathlib import Path
from typing import NoReturn

MARKERS = ("**Corrected Student Solution:**", "{corrected_student_solution}:", "{corrected_student_solution}")


class Plain(pickle.Unpickler):
    """Reads dicts, lists, texts and numbers; anything that names a class or function is refused."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"refused: {module}.{name}")


def pair(arguments: bytes, output: bytes) -> dict[str, str]:
    """The task, its revision and what was revised, cut as the authors' notebook cuts them."""
    prompt = ast.literal_eval(json.loads(arguments)["input_args"]["user_prompt"])
    reply = Plain(io.BytesIO(output)).load()["choices"][0]["message"]["content"]
    marker = next(marker for marker in MARKERS if marker in reply)
    task, _, rest = prompt.split("{task}: ", 1)[1].partition("\n\n{student_solution}: ")
    rejected = rest.split("\n\n-----------------\n\n", 1)[0]
    return {"prompt": task, "chosen": reply.split(marker)[1].strip(), "rejected": rejected}


def main() -> None:
    source, out = map(Path, sys.argv[1:])
    with tarfile.open(source) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        contents = {name: file.read() for name, file in files.items() if file is not None}
    names = sorted(name for name in contents if name.endswith("output.pkl"))
    rows = [pair(contents[name.replace("output.pkl", "metadata.json")], contents[name]) for name in names]
    out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(f"{len(rows)} pairs in {out}")


if __name__ == "__main__":
    main()
