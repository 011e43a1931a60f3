output "arns" {
  description = "The key of each purpose."
  value       = { for purpose, key in aws_kms_key.this : purpose => key.arn }
}
