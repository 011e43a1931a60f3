variable "name" {
  description = "The cluster's name, such as shop-eu."
  type        = string
}

variable "kubernetes_version" {
  description = "The version of Kubernetes; the chart is checked against 1.31 to 1.37."
  type        = string
}

variable "subnet_ids" {
  description = "A subnet in each zone."
  type        = list(string)

  validation {
    condition     = length(var.subnet_ids) >= 3
    error_message = "The chart spreads each service over three zones."
  }
}

variable "instance_type" {
  description = "What the nodes are."
  type        = string
}

variable "nodes_min" {
  description = "At least one in each zone."
  type        = number
}

variable "nodes_max" {
  description = "Enough for the visitors of both regions."
  type        = number
}

variable "key_arn" {
  description = "The key that encrypts Secrets and disks."
  type        = string
}

variable "logs_key_arn" {
  description = "The key that encrypts logs."
  type        = string
}
