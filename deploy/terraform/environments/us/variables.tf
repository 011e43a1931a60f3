variable "zone_id" {
  description = "The zone of example.com in Route 53."
  type        = string
}

variable "load_balancer_host" {
  description = "Known when the cluster's Gateway has its load balancer, so this is planned after the first install."
  type        = string
}

variable "database_source_arn" {
  description = "The output database_arn of the primary region; null there, and null in the other one after a failover."
  type        = string
  default     = null
}
