"""The console for programs: JSON under `/api`, described by OpenAPI."""
