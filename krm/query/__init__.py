"""What a question means: paths, filters, order, pages, groups over a replica. No GraphQL in it."""
