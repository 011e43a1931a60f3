variable "name" {
  description = "The name of the database server, such as shop-eu."
  type        = string
}

variable "vpc_id" {
  description = "The network."
  type        = string
}

variable "subnet_ids" {
  description = "A subnet in each zone."
  type        = list(string)
}

variable "client_cidrs" {
  description = "Who may connect."
  type        = list(string)
}

variable "instance_class" {
  description = "What it runs on."
  type        = string
}

variable "storage_gb" {
  description = "How much it begins with; it grows to four times that."
  type        = number
}

variable "source_arn" {
  description = "The server in the other region that this one follows; null for the primary."
  type        = string
  default     = null
}

variable "key_arn" {
  description = "The key that encrypts data, snapshots and insights."
  type        = string
}
