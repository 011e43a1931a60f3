# The region that takes the writes.

terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # terraform init -backend-config=bucket=...: the state of each environment is apart, locked and encrypted.
  backend "s3" {
    key          = "shop/eu.tfstate"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = local.aws_region

  default_tags {
    tags = {
      environment = "eu"
      system      = "shop"
    }
  }
}

locals {
  aws_region = "eu-central-1"
}

module "region" {
  source = "../../modules/region"

  name                = "shop-eu"
  aws_region          = local.aws_region
  cidr                = "10.40.0.0/16"
  zones               = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
  kubernetes_version  = "1.34"
  node_type           = "m7i.xlarge"
  nodes_min           = 3
  nodes_max           = 12
  database_class      = "db.m7g.large"
  database_gb         = 100
  database_source_arn = var.database_source_arn
  cache_type          = "cache.t4g.medium"
  zone_id             = var.zone_id
  public_host         = "shop.example.com"
  region_host         = "eu.shop.example.com"
  load_balancer_host  = var.load_balancer_host
}
