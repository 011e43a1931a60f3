output "url" {
  description = "SHOP_VALKEY_URL."
  value       = "rediss://:${random_password.this.result}@${aws_elasticache_replication_group.this.primary_endpoint_address}:6379"
  sensitive   = true
}
