"""A vector store in Milvus: many machines, one database, and service replicas without state of their own."""
