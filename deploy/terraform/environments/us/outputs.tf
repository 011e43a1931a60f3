output "cluster_name" {
  description = "For kubectl and Argo CD."
  value       = module.region.cluster_name
}

output "database_arn" {
  description = "What the other region follows."
  value       = module.region.database_arn
}

output "store_cidrs" {
  description = "stores.postgres.cidrs and stores.valkey.cidrs in deploy/gitops/environments."
  value       = module.region.store_cidrs
}
