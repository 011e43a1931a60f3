output "cluster_name" {
  description = "For kubectl and Argo CD."
  value       = module.cluster.name
}

output "database_arn" {
  description = "What the other region follows."
  value       = module.database.arn
}

output "store_cidrs" {
  description = "stores.postgres.cidrs and stores.valkey.cidrs in deploy/gitops/environments."
  value       = module.network.store_cidrs
}
