variable "zone_id" {
  description = "The zone that both regions write to."
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

variable "aws_region" {
  description = "Where it is, so that visitors are led to the nearest one."
  type        = string
}
