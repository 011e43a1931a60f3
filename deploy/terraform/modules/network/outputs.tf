output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "node_subnet_ids" {
  description = "Where the nodes of the cluster stand, a subnet in each zone."
  value       = aws_subnet.nodes[*].id
}

output "database_subnet_ids" {
  description = "Where Postgres stands."
  value       = aws_subnet.database[*].id
}

output "cache_subnet_ids" {
  description = "Where Valkey stands."
  value       = aws_subnet.cache[*].id
}

output "node_cidrs" {
  description = "The addresses of nodes and pods, which stores let in."
  value       = aws_subnet.nodes[*].cidr_block
}

output "store_cidrs" {
  description = "What the chart's network policies open: stores.postgres.cidrs and stores.valkey.cidrs."
  value = {
    postgres = cidrsubnet(var.cidr, 4, 1)
    valkey   = cidrsubnet(var.cidr, 4, 2)
  }
}
