"""What every port in SQL needs: engines, connections, transactions, schema, failures. It knows no port and no table."""
