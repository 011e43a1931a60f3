"""What collects the logs of all pods: files for the Collector, Alloy, Loki and Elasticsearch."""
