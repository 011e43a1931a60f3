variable "name" {
  description = "The beginning of every name, such as shop-eu."
  type        = string
}

variable "aws_region" {
  description = "Where it is."
  type        = string
}

variable "cidr" {
  description = "The addresses of its network, a /16 that no other region has."
  type        = string
}

variable "zones" {
  description = "Three zones by name."
  type        = list(string)
}

variable "kubernetes_version" {
  description = "The version of Kubernetes."
  type        = string
}

variable "node_type" {
  description = "What the nodes of the cluster are."
  type        = string
}

variable "nodes_min" {
  description = "How many nodes there are at least."
  type        = number
}

variable "nodes_max" {
  description = "How many there are at most: enough for the visitors of both regions."
  type        = number
}

variable "database_class" {
  description = "What Postgres runs on."
  type        = string
}

variable "database_gb" {
  description = "How much Postgres begins with."
  type        = number
}

variable "database_source_arn" {
  description = "The Postgres of the other region that this one follows; null in the primary region."
  type        = string
}

variable "cache_type" {
  description = "What Valkey runs on."
  type        = string
}

variable "zone_id" {
  description = "The zone in DNS that both regions write to."
  type        = string
}

variable "public_host" {
  description = "What visitors type."
  type        = string
}

variable "region_host" {
  description = "The name of this region alone."
  type        = string
}

variable "load_balancer_host" {
  description = "The load balancer in front of the cluster's Gateway."
  type        = string
}
