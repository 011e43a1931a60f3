output "url" {
  description = "Where messages are put."
  value       = aws_sqs_queue.this.url
}
