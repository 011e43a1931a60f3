output "arn" {
  description = "What a copy in another region follows."
  value       = aws_db_instance.this.arn
}

output "host" {
  description = "For SHOP_POSTGRES_URL."
  value       = aws_db_instance.this.address
}
