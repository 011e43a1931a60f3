output "health_check_id" {
  description = "For alarms on a region that is lost."
  value       = aws_route53_health_check.this.id
}
