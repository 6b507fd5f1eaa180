"""LangChain's and LlamaIndex's OpenAI embeddings against `/v1/embeddings`, as their users set them up."""

import numpy as np
import pytest
from langchain_openai import OpenAIEmbeddings
from llama_index.embeddings.openai import OpenAIEmbedding

from service.app import create_app
from service.client import Solomon
from tests.service.test_openai import listening


@pytest.fixture
def url(make_settings, open_backend):
    settings = make_settings(api_keys="the-key")
    with listening(create_app(settings, open_backend(settings))) as url:
        yield url


@pytest.fixture
def own(url):
    with Solomon(url, api_key="the-key") as solomon:
        yield solomon


def close(vector, expected):
    return np.allclose(vector, expected, atol=1e-5)


def langchain(url, **options):
    # Without check_embedding_ctx_length=False it sends another model's tokens instead of texts.
    return OpenAIEmbeddings(
        model="solomon",
        base_url=f"{url}/v1",
        api_key="the-key",
        check_embedding_ctx_length=False,
        **options,
    )


def test_langchain(url, own):
    queries = langchain(url)
    assert close(queries.embed_query("one"), own.embed("one")[0].vector)
    documents = langchain(url, model_kwargs={"extra_body": {"input_type": "document"}})
    expected = own.embed(["one", "two"], input_type="document").vectors
    assert close(documents.embed_documents(["one", "two"]), expected)
    assert len(langchain(url, dimensions=8).embed_query("one")) == 8


def test_langchain_that_sends_tokens_is_told_which_option_mends_it(url):
    class NoDownload:
        """Stands for tiktoken, which fetches its vocabulary from elsewhere."""

        def encode_ordinary(self, text):
            return [1, 2, 3]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiktoken.encoding_for_model", lambda name: NoDownload())
        patch.setattr("tiktoken.get_encoding", lambda name: NoDownload())
        tokens = OpenAIEmbeddings(model="solomon", base_url=f"{url}/v1", api_key="the-key")
        with pytest.raises(Exception, match="check_embedding_ctx_length=False"):
            tokens.embed_documents(["one"])


def llama_index(url, **options):
    return OpenAIEmbedding(
        model_name="solomon", api_base=f"{url}/v1", api_key="the-key", max_retries=0, **options
    )


def test_llama_index(url, own):
    queries = llama_index(url)
    assert close(queries.get_query_embedding("one"), own.embed("one")[0].vector)
    documents = llama_index(url, additional_kwargs={"extra_body": {"input_type": "document"}})
    expected = own.embed(["one", "two"], input_type="document").vectors
    assert close(documents.get_text_embedding_batch(["one", "two"]), expected)
    assert len(llama_index(url, dimensions=8).get_query_embedding("one")) == 8
