"""Request bodies that work as they are; /docs shows them and a test runs them."""

from __future__ import annotations

from typing import Any

# A red circle on white, 32 x 32 pixels.
IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgAQMAAABJtOi3AAAABlBMVEX////cHh7/Hx2W"
    "AAAATUlEQVR42m3NsQmEQAAF0efnQENLsBPtTEuzFEswNJDdC44DUScYmGh4o90wnmIKapWGJWHKhyHwU0d/yZsO9k"
    "uebCms1Iq5iLX8l0++hwgRKP6hqkcAAAAASUVORK5CYII="
)

Examples = dict[str, Any]

EMBED: Examples = {
    "question": {
        "summary": "A question; the model decides the route",
        "value": {"input": "Which country's capital is Nairobi?"},
    },
    "image": {
        "summary": "An image with a text",
        "value": {"input": {"text": "What is shown here?", "image": IMAGE}},
    },
    "mixed": {
        "summary": "A list, pooled at once, as base64",
        "value": {
            "input": ["a red circle", {"image": IMAGE}],
            "route": "embed",
            "encoding_format": "base64",
        },
    },
    "tei": {
        "summary": "As Text Embeddings Inference's clients send it; answered with a list of vectors",
        "value": {"inputs": ["a red circle", "a green square"], "normalize": True},
    },
    "documents": {
        "summary": "Documents are never augmented",
        "value": {"input": ["Kenya lies in East Africa."], "input_type": "document"},
    },
}

SEARCH: Examples = {
    "question": {"summary": "A question", "value": {"query": "Which country's capital is Nairobi?", "k": 5}},
    "image": {"summary": "An image", "value": {"query": {"image": IMAGE}, "k": 3}},
    "forced": {
        "summary": "Write an answer first, whatever the model would decide",
        "value": {"query": "What flies at night?", "route": "augment", "max_augment_tokens": 16, "k": 3},
    },
}

DOCUMENTS: Examples = {
    "text": {
        "summary": "Texts with metadata",
        "value": {
            "documents": [
                {
                    "id": "kenya",
                    "text": "Kenya lies in East Africa.",
                    "metadata": {"kind": "fact", "year": 2024},
                },
                {"text": "The Nile flows north."},
            ]
        },
    },
    "image": {
        "summary": "An image with its caption",
        "value": {"documents": [{"id": "circle", "text": "a red circle", "image": IMAGE}]},
    },
}

MISSING: Examples = {
    "one": {
        "summary": "One document, by its id and the fingerprint of its content",
        "value": {"documents": [{"id": "kenya", "fingerprint": "9ab1dc4b9fb4ab7f6f2f1f1a5c6f2a80"}]},
    }
}

REBUILD: Examples = {"plain": {"summary": "Keep every document", "value": {"drop_failed": False}}}

COLLECTION: Examples = {"empty": {"summary": "Nothing needs to be set", "value": {}}}

OPENAI: Examples = {
    "texts": {
        "summary": "As OpenAI's clients send it",
        "value": {"input": ["a red circle", "a green square"], "model": "solomon"},
    },
    "image": {
        "summary": "An extension: items of text and image",
        "value": {"input": [{"text": "what is this?", "image": IMAGE}], "model": "solomon"},
    },
}
