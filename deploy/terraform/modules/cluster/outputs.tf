output "name" {
  description = "The cluster's name."
  value       = aws_eks_cluster.this.name
}

output "endpoint" {
  description = "The address of its interface, inside the network."
  value       = aws_eks_cluster.this.endpoint
}
