"""Tables and spaces for other libraries' optimisers: a file per library, which loads it. No torch."""
